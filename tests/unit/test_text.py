import pytest

from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import ConfirmedBy, Disposition, RecipientStatus
from receiver.core.text import Word


@pytest.mark.parametrize("words", [SendStatus, RefusedBecause, RecipientStatus, Disposition, ConfirmedBy])
def test_every_word_is_its_text_and_has_a_meaning_of_one_line(words: type[Word]) -> None:
    for word in words:
        assert word == word.value == str(word)
        assert words(word.value) is word
        assert word.meaning.strip()
        assert "\n" not in word.meaning
