"""Files made from other files, whose voxels differ by no more than a user allowed.

`files` makes a derived tree of an archive's inputs, and the archive is then made of that tree as of any other.
`bound` changes voxels, `region` says where they must stay, `voxels` reads those of a file, `dicom` and `plain` write
a file with others.
"""
