"""The optional packages that fine-tuning stands on, or one clear error that names what to install."""

from __future__ import annotations

import os
from typing import Any

from llmrec.errors import require

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # trl would tell its makers of each trainer
datasets: Any = require("datasets", extra="train", purpose="fine-tuning")
peft: Any = require("peft", extra="train", purpose="fine-tuning")
peft_helpers: Any = require("peft.helpers", extra="train", purpose="fine-tuning")
trl: Any = require("trl", extra="train", purpose="fine-tuning")
