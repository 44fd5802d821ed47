"""The server: a frozen base, thousands of adapters, OpenAI's audio API (`ia3-speech serve`, extra `serve`).

    errors, options, monitoring
    access          API keys: the rights and rate limit of each key
    engine          the queue in front of the bank: requests for different adapters share a batch
    jobs            training of voices' adapters, one at a time
    state           all of these for a process: the meaning of a request's `model`, limits on requests
    forms           the parameters of endpoints: multipart forms, decoded audio
    openai_api, adapters_api, voices_api, realtime: the endpoints
    app             the application: admission of requests, errors, the page at / (files in page/), /metrics
    ray_app         the same on a Ray cluster (extra `ray`)

An upload: `app` admits it, `forms` reads and decodes it, a thread cuts it and searches (`Recognizer`),
`engine` computes the logits in batches. A module imports only modules above it.
"""
