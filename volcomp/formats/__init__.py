"""The outside world's file formats. Only here and in `archive` is anything known of DICOM."""
