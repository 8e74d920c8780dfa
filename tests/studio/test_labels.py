import numpy as np

from camlens.studio.images.labels import translated


def test_folders_are_matched_with_the_models_classes_by_name() -> None:
    labels = translated([0, 1, None], ["Dog", "cat"], ["cat", "dog", "owl"])
    np.testing.assert_array_equal(labels.indices, [1, 0, -1])
    assert (labels.known, labels.problem) == (True, None)


def test_names_that_the_model_does_not_know_are_said() -> None:
    labels = translated([0, 1], ["cat", "lynx"], ["cat", "dog"])
    np.testing.assert_array_equal(labels.indices, [0, -1])
    assert labels.problem == "not classes of the model: lynx"


def test_foreign_names_of_the_same_number_are_taken_in_order_and_that_is_said() -> None:
    labels = translated([1, 0], ["n01", "n02"], ["cat", "dog"])
    np.testing.assert_array_equal(labels.indices, [1, 0])
    assert "same order" in str(labels.problem)


def test_foreign_names_of_another_number_judge_nothing() -> None:
    labels = translated([0], ["x", "y", "z"], ["cat", "dog"])
    assert not labels.known
    assert "cannot be judged" in str(labels.problem)


def test_unlabelled_images_and_a_single_class_are_said() -> None:
    assert "no labels" in str(translated([None, None], [], ["cat"]).problem)
    assert "one class" in str(translated([0, 0], ["cat"], ["cat", "dog"]).problem)
