"""Images from words, from images, and into masks: FLUX, SDXL and their kin, by diffusers."""
