"""Break-A-Scene Studio: take one photo apart into concepts and draw them again anywhere."""
