"""One and the same questions to two Kubernetes APIs: the embedded one and a real kube-apiserver.

`python -m e2e.differential --check|--write` is for the table of differences that readers see.
"""
