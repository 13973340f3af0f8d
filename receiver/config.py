DEFAULT_DATABASE_URL = "sqlite:///receiver.sqlite3"
