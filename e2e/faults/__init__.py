"""Everything that can fail around gateways, over a real kube-apiserver."""
