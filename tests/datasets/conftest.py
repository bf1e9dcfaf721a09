"""Tests of data sets use strict loading, as our configs and tools do."""

from mmseg_deepvit import safe_loading

safe_loading.install()
