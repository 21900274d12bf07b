"""Answers over the network: raw data in, segmentation and image out, as MRD streams or over HTTP."""
