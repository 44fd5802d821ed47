"""The frozen CTC model, and the IA³ vectors in it. A module imports only what stands above it here:

    location            the folder of a base, and the files on which its logits depend
    hypotheses          words of a text, and the search that needs only logits
    architectures       the modules of each transformers model that vectors scale; placements and layers
    ia3                 the vectors, target modules, numbers of trained parameters
    attach              put vectors in, freeze the rest, prove that each has an effect, take them out
    sharing             threads share a model: a copy of its modules, a lock
    int8                linear modules in int8
    fingerprint         the identity of a base
    collate             waveforms and texts to a batch, without the model
    precision           bfloat16 in the layers, and long convolutions by Fourier transforms
    kinds               the interface of each kind of model: features, losses, hypotheses
    base                load a base of any kind

location, hypotheses and architectures do not load torch.
"""
