"""What may be wrong with the files of a dataset."""


class DatasetCorruptError(ValueError):
    """A dataset's file is there but is not what it should be; the message names the file."""
