"""What the HTML pages share: their frame, style sheet and figures."""
