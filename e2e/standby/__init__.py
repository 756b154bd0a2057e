"""Idle sandboxes sleep and used ones do not, with several gateways on a real kube-apiserver."""
