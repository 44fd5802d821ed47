"""The frozen CTC model, and the IA³ vectors in it. A module imports only what stands above it here:

    wavlm               WavLM's attention by calls of its projections
    weight_norm         weight-normalised convolutions that can be pickled
    structural_copy     a module tree that shares every tensor, to run a forward pass on
    shared_lock         many readers or one writer
    architectures       which module of which transformers model a vector scales
    ia3_config          where vectors stand: placements and layers
    ia3                 target modules and the vectors
    frozen              what a frozen base needs while vectors train
    attach              put vectors in, prove that each has an effect, take them out
    int8                linear modules in int8
    fingerprint         what tells one base from another
    parameter_count     how many parameters train
    partial_forward     forward passes that begin or end in the middle
    collate             waveforms and texts to a batch, without the model
    pretrained          a model and its processor from a folder or the hub
    precision           bfloat16 in the layers, and long convolutions by Fourier transforms
    base                load a base, prepare audio, compute logits

wavlm, architectures and ia3_config do not load torch.
"""
