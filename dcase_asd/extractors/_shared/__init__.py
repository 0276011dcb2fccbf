"""Parts that extractors share: crops of stored clips, class targets, batches for outlier exposure."""
