"""Who runs the units: one module an executor, with ``run(jobs, *, resources, done)``.

A job is a picklable call; results come back as they finish. To add an executor, add one module here.
"""
