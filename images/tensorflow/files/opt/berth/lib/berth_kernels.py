"""What people train with TensorFlow, in small: each task makes the GPU need the kernels of one kind of work.

Runs on the kernels' Python 3.9. A task is given TensorFlow, which takes seconds to load.
"""

TASKS = {}


def task(function):
    TASKS[function.__name__] = function
    return function


def floats(tf):
    """The types that people train in."""
    return (tf.float32, tf.float16)


def gradients(tf, value, *sources):
    with tf.GradientTape() as tape:
        tape.watch(sources)
        result = tf.reduce_sum(tf.cast(value(*sources), tf.float32))
    return tape.gradient(result, sources)


def filled(tf, shape, kind):
    return tf.cast(tf.random.uniform(shape, 0.1, 0.9), kind)


@task
def elementwise(tf):
    for kind in (*floats(tf), tf.float64):
        x, y = filled(tf, [64, 64], kind), filled(tf, [64, 1], kind)
        for one in (
            tf.exp,
            tf.math.log,
            tf.math.log1p,
            tf.sqrt,
            tf.math.rsqrt,
            tf.square,
            tf.abs,
            tf.sign,
            tf.floor,
            tf.sin,
            tf.cos,
            tf.tanh,
            tf.sigmoid,
            tf.math.erf,
            tf.nn.relu,
            tf.nn.relu6,
            tf.nn.elu,
            tf.nn.selu,
            tf.nn.gelu,
            tf.nn.leaky_relu,
            tf.nn.softplus,
            tf.nn.swish,
            tf.negative,
            tf.math.reciprocal,
        ):
            gradients(tf, one, x)
        for two in (
            tf.add,
            tf.subtract,
            tf.multiply,
            tf.divide,
            tf.maximum,
            tf.minimum,
            tf.pow,
            tf.math.squared_difference,
            tf.math.floormod,
        ):
            gradients(tf, two, x, y)
        for compare in (tf.equal, tf.less, tf.greater_equal, tf.not_equal):
            tf.where(compare(x, y), x, y * tf.ones_like(x))
        tf.clip_by_value(x, 0.2, 0.8)
        tf.clip_by_global_norm([x, y], 1.0)
        tf.add_n([x, x, x])
    for kind in (tf.int32, tf.int64):
        x = tf.random.uniform([64], 1, 9, kind)
        _ = x + x * x // x - x % 3


@task
def casts(tf):
    kinds = (*floats(tf), tf.float64, tf.int32, tf.int64, tf.bool, tf.uint8)
    for source in kinds:
        for target in kinds:
            tf.cast(tf.cast(tf.ones([32]), source), target)


@task
def reductions(tf):
    for kind in floats(tf):
        x = filled(tf, [16, 32, 8], kind)
        for axis in (None, 0, 1, 2, [0, 1], [1, 2]):
            for reduce in (tf.reduce_sum, tf.reduce_mean, tf.reduce_max, tf.reduce_min, tf.reduce_prod):
                reduce(x, axis)
            tf.math.reduce_variance(x, axis)
            tf.reduce_any(x > 0.5, axis)
            tf.reduce_all(x > 0.5, axis)
        tf.argmax(x, -1)
        tf.argmin(x, -1)
        tf.math.reduce_logsumexp(x, -1)
        tf.cumsum(x, 1)


@task
def matrix_products(tf):
    for kind in (*floats(tf), tf.float64):
        for rows, inner, columns in ((8, 16, 8), (64, 128, 256), (512, 512, 512), (1024, 64, 1000)):
            a, b = filled(tf, [rows, inner], kind), filled(tf, [inner, columns], kind)
            gradients(tf, tf.matmul, a, b)
            tf.matmul(a, b, transpose_a=True) if rows == inner else tf.matmul(b, a, True, True)
        a, b = filled(tf, [4, 8, 64, 32], kind), filled(tf, [4, 8, 32, 64], kind)
        gradients(tf, tf.matmul, a, b)
        gradients(tf, lambda p, q: tf.einsum("bhqd,bhdk->bhqk", p, q), a, b)
        gradients(tf, lambda p, q: tf.nn.bias_add(p, q), filled(tf, [8, 16], kind), filled(tf, [16], kind))


@task
def linear_algebra(tf):
    x = tf.random.normal([2, 16, 16])
    square = tf.matmul(x, x, transpose_b=True) + 16.0 * tf.eye(16)
    for solve in (tf.linalg.cholesky, tf.linalg.inv, tf.linalg.det, tf.linalg.qr, tf.linalg.svd, tf.linalg.eigh):
        solve(square)
    tf.linalg.solve(square, x)
    tf.signal.ifft(tf.signal.fft(tf.cast(x, tf.complex64)))
    tf.signal.rfft2d(x)


@task
def shapes(tf):
    for kind in (*floats(tf), tf.int32):
        x = tf.cast(tf.random.uniform([4, 6, 8], 0, 9, tf.int32), kind)
        tf.transpose(x, [2, 0, 1])
        tf.transpose(x, [0, 2, 1])
        tf.concat([x, x], 1)
        tf.stack(tf.unstack(x, axis=0), 1)
        tf.split(x, 2, 2)
        tf.tile(x, [1, 2, 1])
        tf.pad(x, [[0, 0], [1, 1], [2, 0]])
        tf.reverse(x, [1])
        tf.repeat(x, 2, 1)
        tf.roll(x, 1, 0)
        _ = x[:, 1:5:2, ::-1], tf.broadcast_to(x[:, :1], [4, 6, 8]), tf.identity(x)


@task
def indices(tf):
    for kind in floats(tf):
        x, rows = filled(tf, [32, 16], kind), tf.constant([1, 3, 5])
        gradients(tf, lambda p, at=rows: tf.gather(p, at), x)
        tf.gather_nd(x, [[0, 1], [2, 3]])
        tf.tensor_scatter_nd_add(x, [[0], [2]], x[:2])
        tf.math.unsorted_segment_sum(x[:3], rows, 8)
        tf.math.top_k(x, 4)
        tf.sort(x, 1)
        tf.argsort(x, 1)
        tf.where(x > 0.5)
        tf.boolean_mask(x, x > 0.5)
        variable = tf.Variable(x)
        variable.scatter_sub(tf.IndexedSlices(x[:2], [0, 1]))
    tf.one_hot([1, 2], 8)
    tf.unique([1, 2, 1])
    tf.sequence_mask([2, 3], 5)
    tf.range(9)


@task
def randoms(tf):
    for kind in floats(tf):
        tf.random.normal([64], dtype=kind)
        tf.random.uniform([64], dtype=kind)
        tf.random.truncated_normal([64], dtype=kind)
        tf.random.stateless_normal([64], [1, 2], dtype=kind)
        gradients(tf, lambda p: tf.nn.dropout(p, 0.5), filled(tf, [64, 64], kind))
    tf.random.shuffle(tf.range(64))
    tf.random.categorical(tf.zeros([2, 8]), 4)


def layer(tf, make, shape):
    """Forward and backward through a layer, in both precisions."""
    for policy in ("float32", "mixed_float16"):
        tf.keras.mixed_precision.set_global_policy(policy)
        built = make()
        with tf.GradientTape() as tape:
            x = tf.random.uniform(shape)
            tape.watch(x)
            result = tf.reduce_sum(tf.cast(built(x, training=True), tf.float32))
        tape.gradient(result, [x, *built.trainable_variables])
        built(x, training=False)
    tf.keras.mixed_precision.set_global_policy("float32")


@task
def convolutions(tf):
    layers = tf.keras.layers
    for kernel, strides in ((1, 1), (3, 1), (3, 2), (5, 1), (7, 2)):
        layer(tf, lambda k=kernel, s=strides: layers.Conv2D(16, k, s, "same"), [4, 32, 32, 8])
    layer(tf, lambda: layers.Conv2D(16, 3, dilation_rate=2), [2, 32, 32, 8])
    layer(tf, lambda: layers.Conv2DTranspose(8, 3, 2, "same"), [2, 16, 16, 8])
    layer(tf, lambda: layers.DepthwiseConv2D(3, padding="same"), [2, 32, 32, 8])
    layer(tf, lambda: layers.SeparableConv2D(16, 3), [2, 32, 32, 8])
    layer(tf, lambda: layers.Conv1D(16, 3), [4, 64, 8])
    layer(tf, lambda: layers.Conv3D(8, 3), [1, 8, 8, 8, 4])


@task
def pooling(tf):
    layers = tf.keras.layers
    for make in (
        layers.MaxPooling2D,
        layers.AveragePooling2D,
        layers.GlobalAveragePooling2D,
        layers.GlobalMaxPooling2D,
    ):
        layer(tf, make, [4, 16, 16, 8])
    layer(tf, layers.MaxPooling1D, [4, 16, 8])
    layer(tf, lambda: layers.UpSampling2D(2), [2, 8, 8, 4])
    tf.image.resize(tf.random.uniform([1, 16, 16, 3]), [24, 24])
    tf.image.resize(tf.random.uniform([1, 16, 16, 3]), [24, 24], "nearest")
    image = tf.random.uniform([2, 16, 16, 3])
    tf.image.random_flip_left_right(image)
    tf.image.adjust_contrast(image, 2.0)


@task
def normalisation(tf):
    layers = tf.keras.layers
    layer(tf, layers.BatchNormalization, [8, 16, 16, 8])
    layer(tf, layers.BatchNormalization, [32, 16])
    layer(tf, layers.LayerNormalization, [8, 16, 32])
    layer(tf, lambda: layers.Softmax(), [8, 32])
    tf.nn.l2_normalize(tf.random.uniform([8, 8]), 1)


@task
def recurrent(tf):
    layers = tf.keras.layers
    for make in (layers.LSTM, layers.GRU):
        layer(tf, lambda m=make: m(32, return_sequences=True), [8, 12, 16])
        layer(tf, lambda m=make: layers.Bidirectional(m(16)), [8, 12, 16])
    layer(tf, lambda: layers.SimpleRNN(16), [4, 8, 8])


@task
def attention(tf):
    layers = tf.keras.layers

    class SelfAttention(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = layers.MultiHeadAttention(4, 16)

        def call(self, x, training=False):
            return self.inner(x, x, training=training)

    layer(tf, SelfAttention, [4, 24, 32])
    table = layers.Embedding(100, 16)
    with tf.GradientTape() as tape:
        result = tf.reduce_sum(table(tf.random.uniform([4, 8], 0, 100, tf.int32)))
    tape.gradient(result, table.trainable_variables)


@task
def losses(tf):
    logits, labels = tf.random.normal([16, 10]), tf.random.uniform([16], 0, 10, tf.int32)
    hot = tf.one_hot(labels, 10)
    known = tf.keras.losses
    pairs = [
        (known.SparseCategoricalCrossentropy(from_logits=True), labels),
        (known.CategoricalCrossentropy(from_logits=True), hot),
        (known.BinaryCrossentropy(from_logits=True), hot),
        (known.MeanSquaredError(), hot),
        (known.MeanAbsoluteError(), hot),
        (known.Huber(), hot),
        (known.CosineSimilarity(), hot),
        (known.KLDivergence(), hot),
    ]
    for loss, truth in pairs:
        gradients(tf, lambda p, f=loss, t=truth: f(t, p), logits)
    for metric in (tf.keras.metrics.SparseCategoricalAccuracy(), tf.keras.metrics.SparseTopKCategoricalAccuracy()):
        metric.update_state(labels, logits)
    tf.keras.metrics.AUC().update_state(hot, tf.sigmoid(logits))


@task
def training(tf):
    optimizers = tf.keras.optimizers
    for policy in ("float32", "mixed_float16"):
        tf.keras.mixed_precision.set_global_policy(policy)
        for optimizer in (
            optimizers.SGD(0.01),
            optimizers.SGD(0.01, 0.9, nesterov=True),
            optimizers.Adam(),
            optimizers.RMSprop(),
            optimizers.Adagrad(),
            optimizers.Nadam(),
        ):
            layers = tf.keras.layers
            model = tf.keras.Sequential(
                [
                    layers.Conv2D(8, 3, activation="relu", input_shape=(16, 16, 3)),
                    layers.BatchNormalization(),
                    layers.MaxPooling2D(),
                    layers.Flatten(),
                    layers.Dropout(0.2),
                    layers.Dense(16, "relu", kernel_regularizer="l2"),
                    layers.Dense(10),
                    layers.Activation("softmax", dtype="float32"),
                ]
            )
            model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
            x, y = tf.random.uniform([64, 16, 16, 3]), tf.random.uniform([64], 0, 10, tf.int32)
            model.fit(x, y, 32, verbose=0)
            model.predict(x, verbose=0)
    tf.keras.mixed_precision.set_global_policy("float32")
