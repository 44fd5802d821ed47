"""The frozen CTC model, and the IA³ vectors in it. A module imports only what stands above it here:

    location            where a base lies, and which files its logits depend on
    hypotheses          words of a text, and the search that needs nothing but logits
    architectures       which module of which transformers model a vector scales; placements and layers
    ia3                 the vectors, target modules, how many parameters train
    attach              put vectors in, freeze the rest, prove that each has an effect, take them out
    sharing             how threads share a model: a copy of its modules, a lock
    int8                linear modules in int8
    fingerprint         what tells one base from another
    collate             waveforms and texts to a batch, without the model
    precision           bfloat16 in the layers, and long convolutions by Fourier transforms
    kinds               what each kind of model answers: features, losses, hypotheses
    base                load a base, of whatever kind

location, hypotheses and architectures do not load torch.
"""
