"""`python -m triton_ocr`: the command triton-ocr."""

import sys

from triton_ocr.cli import main

sys.exit(main())
