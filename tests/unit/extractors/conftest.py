import pytest
from fake_features import write_folder

from dcase_asd.features.store import FeatureFolder


@pytest.fixture(scope="session")
def features(tmp_path_factory) -> FeatureFolder:
    return write_folder(tmp_path_factory.mktemp("Merk male ä"))
