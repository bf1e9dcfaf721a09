"""Data sets are tested as our configs and tools load them."""

from mmseg_deepvit import safe_loading

safe_loading.install()
