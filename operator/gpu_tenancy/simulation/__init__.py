"""A GPU site in virtual time: the planner meets a year of requests in a minute, without a cluster."""
