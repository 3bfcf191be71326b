"""The fuzz targets of benchmarks.fuzz: valid inputs, mutations, readers of files, commands."""
