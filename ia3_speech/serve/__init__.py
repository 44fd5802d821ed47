"""The server: one frozen base, thousands of adapters, OpenAI's audio API (`ia3-speech serve`, extra `serve`).

    errors, options
    monitoring      metrics, and the log
    access          API keys, what each may use, rates
    models          what a request's `model` means; adapters in the bank: the least recently used leave
    engine          the queue in front of the bank: requests for different adapters share a batch
    jobs            adapters that learn from voices, one at a time
    state           all of these for one process, and how many requests it takes on
    openai_api      POST /v1/audio/transcriptions, GET /v1/models
    adapters_api    POST, GET and DELETE /v1/adapters
    voices_api      /v1/voices: recordings, learning from them, deletion
    realtime        WS /v1/realtime
    app             the application: routes, the page at / (files in page/), /metrics, /healthz, the log
    ray_app         the same on a Ray cluster (extra `ray`)

One upload: `app` lets it in, `openai_api` reads and decodes it, a thread cuts it and searches (`Recognizer`),
`engine` computes the logits in batches. A module imports only what stands above it.
"""
