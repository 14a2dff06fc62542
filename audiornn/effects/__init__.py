"""What augmentation does to waveforms and frames, each effect by itself: no draws, no settings, any device."""
