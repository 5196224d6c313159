# The node, as a user who may write to nothing but its state.
ARG BASE_IMAGE=python:3.12-slim
FROM ${BASE_IMAGE}

RUN groupadd --gid 10001 scp-anon \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/scp-anon --create-home --shell /usr/sbin/nologin scp-anon

COPY pyproject.toml README.md /usr/src/scp-anon/
COPY scp_anon /usr/src/scp-anon/scp_anon
RUN python3 -m venv /opt/scp-anon \
 && /opt/scp-anon/bin/pip install --no-cache-dir --disable-pip-version-check /usr/src/scp-anon \
 && rm -rf /usr/src/scp-anon

COPY config/node.yaml /etc/scp-anon/node.yaml

ENV PATH=/opt/scp-anon/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/scp-anon
VOLUME /var/lib/scp-anon
EXPOSE 11112
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s \
    CMD ["scp-anon", "echo", "127.0.0.1", "11112", "--called", "SCP_ANON"]
ENTRYPOINT ["scp-anon"]
CMD ["serve", "-c", "/etc/scp-anon/node.yaml"]
