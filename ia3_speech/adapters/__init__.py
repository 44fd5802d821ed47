"""Adapters: IA³ vectors with a record of their base. A module imports only what stands above it here:

    record              the dataclass Adapter; the only reader and writer of ia3_speech.json
    weights             tensors, and the distribution of vectors around 1
    card                README.md, the model card
    hub                 fetch from and publish on the Hugging Face Hub
    registry            a name → an adapter's folder
    spec                `accent:0.7+medical:0.5` → an `AdapterSpec`, parsed once
                        — up to here without torch, so that a wrong name is reported at once —
    io                  an adapter's folder, written and read; PEFT's layout
    load                an adapter, or a weighted sum, onto a model
    methods             methods beside IA³: LoRA and others, into a base, to and from a folder
    trainer_callback    the adapter in a checkpoint of transformers' Trainer
    merge               into the weights and back; an ordinary checkpoint
    bank                many adapters at once, one for each row of a batch
    cache               adapters of requests, loaded into a bank on first use

`io` and `load` resolve names by the registry, so it precedes them. A name may be an id on the Hub, and a
published adapter has a card, so `hub` and `card` precede the registry.
"""
