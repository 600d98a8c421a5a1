"""Images from any source as the same arrays: float32 pixels in [0, 1] and labels.

`load_images` returns a whole split, `stream_images` an infinite stream of training batches. Both
take a catalogue name, an .npz file, a folder of images or CelebA's official layout.
`read_image_files` reads single files for a given image shape. TensorFlow, TensorFlow Datasets and
Pillow are imported only when used.
"""

from ddim_embed.data.arrays import PADDING, crop_padding, pad_images
from ddim_embed.data.attributes import load_attributes
from ddim_embed.data.catalogue import CATALOGUE
from ddim_embed.data.files import CELEBA_ATTRIBUTES, MAX_IMAGE_PIXELS, read_image_files
from ddim_embed.data.loading import SOURCES, load_images, stream_images

__all__ = [
    "CATALOGUE",
    "CELEBA_ATTRIBUTES",
    "MAX_IMAGE_PIXELS",
    "PADDING",
    "SOURCES",
    "crop_padding",
    "load_attributes",
    "load_images",
    "pad_images",
    "read_image_files",
    "stream_images",
]
