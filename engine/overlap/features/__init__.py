"""What embeddings hold: probes of mixes and of chosen dimensions, transfer, similarity of representations."""
