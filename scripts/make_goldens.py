"""Write tests/golden/mfcc.npz: what librosa, torchaudio and kaldi-native-fbank compute for a quarter second of sound.

`python scripts/make_goldens.py`, after a deliberate change of the signal or to follow a new version of those libraries.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "tests"


def main() -> None:
    sys.path.insert(0, str(TESTS))
    from reference_features import LIBRARIES, speech_like

    waveform = speech_like(0.25, seed=7)
    arrays = {name: mfcc(waveform) for name, mfcc in LIBRARIES.items()}
    versions = [f"{name} {version(name)}" for name in ("librosa", "torchaudio", "kaldi-native-fbank")]
    path = TESTS / "golden" / "mfcc.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, samples=np.round(waveform * 32_768).astype(np.int16), versions=versions, **arrays)
    print(f"{path}: {path.stat().st_size} bytes, {', '.join(versions)}")


if __name__ == "__main__":
    main()
