"""`python -m gpu_tenancy` is the command `gpu-tenancy`."""

from gpu_tenancy.cli.main import app

app(prog_name="gpu-tenancy")
