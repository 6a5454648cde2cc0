"""Every primitive once, in plain array code over ``self.xp``: a file per family of operations.

A differentiable primitive is a pair: ``out, saved = be.op(...)`` and ``grads = be.op_backward(saved, dout)``. ``saved``
is what the backward pass needs and nothing else; ``grads`` has one entry for each array input, in their order, ``None``
where there is nothing to give (an absent bias, a plain Python number). Primitives never write to their inputs; a method
that works in place says so by the underscore at the end of its name.

Shapes are checked one floor up, in `gpunn.functional`, so that the message can speak the user's language.
"""
