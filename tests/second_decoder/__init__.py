"""A second decoder, written from codecs/FORMAT.md and bitsback/ARITHMETIC.md alone.

It shares no code with the package and is slow: numpy int64 and Python integers.  A command,

    python -m tests.second_decoder FILE.bbk MODEL.safetensors... -o FOLDER

and `decode_file` (decoder.py); tests of single sections use its other modules.  What
pushes stands beside what pops, for tests too.
"""
