# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /source
RUN python -m venv /venv
# What changes seldom first: the layer of the dependencies outlives changes of the code.
COPY pyproject.toml requirements.txt README.md LICENSE ./
RUN mkdir gateway && touch gateway/__init__.py \
    && /venv/bin/pip install --no-cache-dir '.[gateway,tracing]' -c requirements.txt \
    && /venv/bin/pip uninstall --yes sandbox-gateway
COPY gateway gateway
RUN /venv/bin/pip install --no-cache-dir --no-deps . -c requirements.txt \
    && /venv/bin/pip uninstall --yes pip

FROM python:3.11-slim
COPY --from=build /venv /venv
# The byte code is there already, and the root file system may be read-only.
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 8081 8082
ENTRYPOINT ["sandbox-gateway"]
CMD ["serve"]
