"""Every target of `python -m tests.fuzz`."""

from tests.fuzz.targets.cards import CARD, REGISTRY
from tests.fuzz.targets.job import JOB
from tests.fuzz.targets.recordings import RECORDING, SAMPLES
from tests.fuzz.targets.setup import SETTINGS
from tests.fuzz.targets.tensors import HEADER, PROMPT
from tests.fuzz.targets.texts import SPOKEN, TEXT
from tests.fuzz.targets.urls import SLOTS, URL
from tests.fuzz.targets.wire import ENTRY, MESSAGE, TRAIL

TARGETS = (
    JOB, MESSAGE, ENTRY, TRAIL, TEXT, SPOKEN, CARD, REGISTRY, RECORDING, SAMPLES, PROMPT, HEADER, URL, SETTINGS, SLOTS,
)  # fmt: skip
