"""The language of raftchaos: documents, the parameters of every fault, nodes, tasks, runs. Data, no I/O."""
