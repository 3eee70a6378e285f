"""The language of raftchaos: documents, the parameters of every fault, nodes, tasks and runs. Validated data, no I/O."""
