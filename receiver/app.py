"""The composition root: the parts of a running application are put together here."""

import sys
from pathlib import Path

from flask import Flask

from receiver import log, metrics
from receiver.bandwidth.client import BandwidthAccount, BandwidthGateway
from receiver.bandwidth.history import MessageSearch
from receiver.database.database import Database
from receiver.database.engine import is_sqlite
from receiver.database.pipeline import Pipeline
from receiver.errors import CannotCount, ConfigurationError
from receiver.events.committer import Committer
from receiver.events.store import STORE_PLAIN
from receiver.messages.call import Caller, Gateway
from receiver.messages.sender import Sender
from receiver.settings import Settings, read_settings
from receiver.settings_file import load_settings_file
from receiver.web import authentication, callbacks, health, messages, problems, request_log, views
from receiver.web.front import Front
from receiver.web.openapi import document
from receiver.web.views import EXTENSION, Services


def create_app(settings: Settings, *, gateway: Gateway | None = None) -> Flask:
    """Returns the WSGI application. ``settings`` must have been read for serving."""
    app = Flask("receiver", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # such a response would need no credentials
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False  # a redirect would lose an event: Bandwidth follows none
    database = Database(settings.database_url)
    # On PostgreSQL callbacks have a connection of their own, so that requests of the application do not delay them; on
    # SQLite there is one writer at a time, so both wait in one queue.
    is_postgres = not is_sqlite(settings.database_url)
    committing = Database(settings.database_url, connections=1) if is_postgres else database
    pipeline = Pipeline(committing, STORE_PLAIN) if is_postgres else None
    app.extensions[EXTENSION] = Services(
        settings=settings,
        sender=make_sender(settings, database, gateway),
        database=database,
        committing=committing,
        committer=Committer(committing, pipeline),
    )
    request_log.register(app, callback_endpoint=callbacks.ENDPOINT)
    problems.register(app)
    views.register(app)
    for module in (callbacks, messages, health, document):
        app.register_blueprint(module.blueprint)
    authentication.register(app)  # raises if a view declares no access
    document.register(app)  # raises if a route is not described
    return app


def make_sender(settings: Settings, database: Database, gateway: Gateway | None = None) -> Sender:
    """Returns the object that sends messages. ``settings`` must have been read for sending."""
    return Sender(database=database, caller=make_caller(settings, database, gateway), rates=settings.rates)


def make_caller(settings: Settings, database: Database, gateway: Gateway | None = None) -> Caller:
    """Returns the object that calls Bandwidth for senders and workers. ``settings`` must have been read for sending."""
    return Caller(database=database, gateway=gateway or make_gateway(settings), overdue_after=settings.overdue_after)


def make_gateway(settings: Settings) -> BandwidthGateway:
    """Returns the client that creates messages at Bandwidth. ``settings`` must have been read for sending."""
    return BandwidthGateway(BandwidthAccount.of(settings))


def make_search(settings: Settings) -> MessageSearch:
    """Returns the client of Bandwidth's message search. ``settings`` must have been read for sending."""
    return MessageSearch(BandwidthAccount.of(settings))


def make_front(*, threads: int, body_seconds: float, parent: int, metrics_folder: str) -> Front:
    """The RSGI application that `receiver serve` runs in each of its processes, configured by the environment."""
    app = from_environment(metrics_folder)
    return Front(app, app.extensions[EXTENSION], threads=threads, body_seconds=body_seconds, parent=parent)


def from_environment(metrics_folder: str | None = None, *, settings_file: str | None = None) -> Flask:
    """The WSGI application configured by the environment; exits with every problem of the settings.

    ``metrics_folder`` is where the processes of a server share their metrics. ``settings_file`` is a file of further
    settings; those of the environment take precedence.
    """
    try:
        if settings_file:
            load_settings_file(Path(settings_file))
        settings = read_settings(serving=True)
        if metrics_folder:
            metrics.share(metrics_folder)
    except CannotCount as error:
        sys.exit(str(error))
    except ConfigurationError as error:
        sys.exit(f"Invalid settings:\n{error}")
    log.to_stderr(settings.log_level)
    return create_app(settings)
