"""Readers of files for which some are deadly, or too long. Imported without torch by the processes that read."""

from __future__ import annotations

import os

from limits import little_memory

from audiornn.inference.reading import AudioPath, Heard, SignalReader


class DeadlyReader(SignalReader):
    """Stands for a decoder that crashes, or has a fault, at a file that says so in its name."""

    def hear(self, path: AudioPath) -> Heard:
        if "deadly" in str(path):
            os._exit(7)
        if "faulty" in str(path):
            raise IndexError("out of range")
        return super().hear(path)


class PoorReader(SignalReader):
    """Has memory for a few minutes."""

    def hear(self, path: AudioPath) -> Heard:
        with little_memory(32 << 20):
            return super().hear(path)
