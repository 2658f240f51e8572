"""What a tuned model is put to: a firm's facts, a teacher's manner, a product's face; each with data and a judge."""
