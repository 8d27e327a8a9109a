"""The pictures of a study beside its front, one file each: coordinates and words, which templates and scripts draw."""
