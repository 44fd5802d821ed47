"""Adapters: IA³ vectors with a record of their base. A module imports only what stands above it here:

    record              the dataclasses Adapter and Metadata; ia3_speech.json, its only reader and writer
    weights             tensors read, and how vectors lie around 1
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

The registry stands below `io` and `load`, which resolve names by it; and since a name may be one on the Hub,
and what is published there has a card, so do `hub` and `card`.
"""
