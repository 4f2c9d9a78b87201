"""The space `mcu_cnn`: small convolutional classifiers as a chain of stages of well-known blocks.

`description` holds the nouns and how text becomes them, `blocks` turns them into layers, `moves` draws and edits them,
`words` says them in words, `space` ties these together behind `automcu.spaces.space.Space`.
"""

from automcu.spaces.mcu_cnn.description import McuCnn
from automcu.spaces.mcu_cnn.space import McuCnnSpace, decode

__all__ = ["McuCnn", "McuCnnSpace", "decode"]
