"""What the operator needs of Kubernetes; nothing in here knows what a job is made of."""
