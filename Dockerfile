# offramp with the pinned packages of the lock, as `make install` sets them up.
#
#     docker build -t offramp .
#     docker run --rm offramp                                        # offramp doctor
#
# The main job on embedded models, in a volume that keeps models, studies and promotions:
#
#     docker run --rm -v offramp:/jobs offramp init --example support-triage
#     docker run --rm -v offramp:/jobs offramp models pull local/smollm2-135m local/gemma-3-270m local/qwen2.5-coder-0.5b
#     docker run --rm -v offramp:/jobs offramp optimize support_triage.yaml
#
# With a provider: -e OPENAI_API_KEY. The live page: -p 8600:8600 ... review --host 0.0.0.0
FROM python:3.12-slim

WORKDIR /src
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY search_spaces ./search_spaces
COPY datasets ./datasets
RUN python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

RUN useradd --create-home offramp && mkdir /jobs && chown offramp /jobs
USER offramp
WORKDIR /jobs
ENV XDG_CACHE_HOME=/jobs/.cache
VOLUME /jobs
ENTRYPOINT ["offramp"]
CMD ["doctor"]
