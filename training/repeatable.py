"""Two trainings with the same seed on the same CPU give the same weights, bit for bit."""

import keras


def make_repeatable(seed: int) -> bool:
    """Seed everything, and have TensorFlow run one operation after the other.

    TensorFlow runs independent operations side by side, and AddN sums into whichever of its
    inputs happens to be free first: with more than one such thread two equal runs in float32
    part in their last bits. Each operation still uses all cores.

    Args:
        seed: The seed of the first weights and of random layers.

    Returns:
        Whether runs are repeatable. They are not where TensorFlow was in use in this process
        before with several such threads: their number cannot be changed then.
    """
    repeatable = True
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        try:
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            repeatable = tf.config.threading.get_inter_op_parallelism_threads() == 1
    keras.utils.set_random_seed(seed)
    return repeatable
