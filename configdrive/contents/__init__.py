"""The files on a drive: guest data rendered into paths and bytes. Pure; `configdrive.iso` makes an image of them."""
