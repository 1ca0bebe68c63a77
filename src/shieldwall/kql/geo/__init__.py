"""The mathematics of the geospatial functions: shapes on a sphere, whose edges are geodesics."""
