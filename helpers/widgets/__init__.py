"""What a learner's hands are on: a chat, a comparison, the rows, the training. Thin shells over plain classes."""
