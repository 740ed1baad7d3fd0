"""bitsback: lossless image compression with a variational diffusion model as its prior."""
__version__ = "0.1.0"
