"""Stage 0: fetch public corpora, resumable and verified.

Reads ``data_manifests/<corpus>.yaml`` (which archives of which Zenodo record); writes
``<dest>/dcase<YYYY>t2/{dev_data,eval_data}/raw/<machine>/`` and, beside ``raw``, one completion record per archive.
Nothing is fetched unless :func:`dcase_asd.download.corpus.download` is called. To add a corpus: one YAML file.
"""
